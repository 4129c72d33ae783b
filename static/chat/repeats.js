// Repeated input is for what took the first of it, not for what has come in its place meanwhile: the second click of a
// double click (Stop where Send was, or the button that removes the next question), and an Enter that is held down.

import { on } from "./page.js";

const nameOf = (element) => element?.getAttribute("aria-label") ?? element?.textContent;

const refuse = (event) => {
  event.preventDefault();
  event.stopPropagation();
};

let clicked;
let pressed;

on("click", (event) => {
  if (!event.isTrusted) return;
  const element = event.target.closest("a, button");
  const name = nameOf(element);
  if (event.detail < 2) clicked = { element, name };
  else if (clicked && element !== clicked.element && name !== clicked.name) refuse(event);
}, true);

on("keydown", (event) => {
  if (event.key !== "Enter") return;
  if (!event.repeat) pressed = event.target;
  else if (pressed && event.target !== pressed) refuse(event);
}, true);
