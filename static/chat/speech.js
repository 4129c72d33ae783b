// Reading an answer aloud, with the browser's own voices.

import { announce } from "./announcer.js";
import { byId } from "./page.js";

// Characters. Some browsers fall silent in the middle of a longer piece.
const PIECE = 200;

const BLOCKS = "p, li, h1, h2, h3, h4, h5, h6, td, th, summary";

// The button of the answer that is being read.
let speaking = null;

const stop = () => {
  speechSynthesis.cancel();
  speaking?.setAttribute("aria-pressed", "false");
  speaking = null;
};

// Without the blocks inside, which are read in their turn, and without code.
const ownText = (element) => {
  const own = element.cloneNode(true);
  own.querySelectorAll(`${BLOCKS}, .code`).forEach((inner) => inner.remove());
  return own.textContent.trim();
};

const textOf = (parts) => [...parts.querySelectorAll(`.text :is(${BLOCKS})`)].map(ownText).filter(Boolean);

const piecesOf = (text) => text.match(new RegExp(`[^.!?。]{1,${PIECE}}[.!?。]*\\s*`, "gs")) ?? [];

const speak = (button) => {
  const pieces = textOf(byId(button.dataset.readAloud)).flatMap(piecesOf);
  if (!pieces.length) return announce("There is nothing to read aloud.");
  speaking = button;
  button.setAttribute("aria-pressed", "true");
  pieces.forEach((piece, index) => {
    const utterance = new SpeechSynthesisUtterance(piece);
    if (index === pieces.length - 1) utterance.onend = () => speaking === button && stop();
    speechSynthesis.speak(utterance);
  });
};

export const toggle = (button) => {
  const isSame = speaking === button;
  if (speaking) stop();
  if (!isSame) speak(button);
};

window.addEventListener("pagehide", () => speaking && stop());
