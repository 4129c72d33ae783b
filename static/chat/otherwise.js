// Retry otherwise: with the same model, with another one, or with more thought. One menu for all answers of the page.

import { offerLevels } from "./effort.js";
import { byId } from "./page.js";
import { place } from "./open_menu.js";

const picker = byId("id_model");
const effort = byId("id_effort");
const menu = byId("otherwise");

// The levels are those of the model before the question is sent.
const choose = (select, value) => {
  select.value = value;
  select.dispatchEvent(new Event("change"));
  if (select === picker) offerLevels();
};

const offer = (words, act) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  button.addEventListener("click", () => {
    menu.hidePopover();
    act();
  });
  menu.append(button);
};

const nameOf = (model) => [...(picker?.options ?? [])].find(({ value }) => value === model)?.label;

export const open = (opener) => {
  const retry = opener.parentElement.querySelector(".retry");
  const { model } = opener.dataset;
  menu.replaceChildren();
  if (!picker) offer("Same model", () => retry.click());
  else if (nameOf(model)) offer(`Same model (${nameOf(model)})`, () => (choose(picker, model), retry.click()));
  const more = effort?.disabled ? null : effort?.options[effort.selectedIndex + 1];
  if (more) offer(`More thought: ${more.label}`, () => (choose(effort, more.value), retry.click()));
  for (const { value, label } of picker?.options ?? []) {
    if (value !== model) offer(label, () => (choose(picker, value), retry.click()));
  }
  menu.showPopover();
  place(menu, opener);
  menu.querySelector("button")?.focus();
};
