// The models side by side: how much each reads and what it costs, found by a word of its name.

import { byId, isComposing } from "./page.js";

const picker = byId("id_model");
const list = byId("models");

const matches = (option, words) =>
  words.every((word) => `${option.value} ${option.parentElement.label ?? ""}`.toLowerCase().includes(word));

const makeRow = (option) => {
  const row = document.createElement("button");
  const facts = document.createElement("small");
  row.type = "button";
  row.setAttribute("aria-pressed", option.selected);
  facts.textContent = option.dataset.facts;
  row.append(option.label, facts);
  row.addEventListener("click", () => {
    picker.value = option.value;
    picker.dispatchEvent(new Event("change"));
    list.hidePopover();
  });
  return row;
};

const fill = (words = "") => {
  const wanted = words.toLowerCase().split(/\s+/);
  list.querySelectorAll("button, p").forEach((element) => element.remove());
  const found = [...picker.options].filter((option) => matches(option, wanted));
  list.append(...found.map(makeRow));
  if (!found.length) list.append(Object.assign(document.createElement("p"), { textContent: "No such model" }));
};

const field = document.createElement("input");
field.type = "search";
field.placeholder = "Find a model";
field.setAttribute("aria-label", "Find a model");
field.addEventListener("input", () => fill(field.value));
field.addEventListener("keydown", (event) => {
  // These of the menu's keys are for the text of the field.
  if (isComposing(event) || ["Home", "End"].includes(event.key)) return event.stopPropagation();
  if (event.key !== "Enter") return;
  event.preventDefault();
  list.querySelector("button")?.click();
});
list.prepend(field);

export const toggle = () => {
  field.value = "";
  fill();
  list.togglePopover();
};
