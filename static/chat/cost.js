// The estimated cost of a question before it is sent: shown for an expensive one, in the place of what was spent.

import { box, byId, composer } from "./page.js";

const DEAR = 0.1; // US dollars
const LONG = 50_000; // tokens, where the model has no price
const ANSWER = 1_000; // tokens

const rate = () => (byId("id_model")?.selectedOptions[0] ?? composer.querySelector(".model"))?.dataset.rate;

const estimate = () => {
  const line = byId("cost-line");
  const text = box.value.trim();
  const tokens = Number(line.dataset.context) + Math.ceil(text.length / 4);
  const [input, output] = JSON.parse(rate() || "[null, null]");
  const dollars = input === null ? null : (tokens * input + ANSWER * output) / 1e6;
  const dear = text !== "" && (dollars === null ? tokens >= LONG : dollars >= DEAR);
  const cost = dollars === null ? "" : `about $${dollars.toFixed(2)}, for `;
  line.textContent = dear ? `This question: ${cost}about ${tokens.toLocaleString("en")} tokens` : line.dataset.words;
  line.classList.toggle("dear", dear);
};

box.addEventListener("input", estimate);
byId("id_model")?.addEventListener("change", estimate);
