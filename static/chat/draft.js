// What is written in the composer: kept until it is sent, and as high as its text.

import { box, byId, stored } from "./page.js";

export const draftKey = () => `draft:${location.pathname}`;

const keep = () =>
  stored((storage) => (box.value ? storage.setItem(draftKey(), box.value) : storage.removeItem(draftKey())));

// For browsers that do not know field-sizing.
const fit = () => {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
};

export const write = (text) => {
  box.value = text;
  fit();
  keep();
  box.focus();
};

// What was typed while the question was on its way stays.
export const clearDraft = ({ text, draft }) => {
  byId("unavailable")?.remove();
  stored((storage) => storage.removeItem(draft));
  if (box.value === text) write("");
  else box.focus();
};

box.addEventListener("input", () => {
  fit();
  keep();
});

document.addEventListener("click", ({ target }) => {
  const example = target.closest("button")?.dataset.example;
  if (example) write(example);
});

if (!box.value) box.value = stored((storage) => storage.getItem(draftKey())) ?? "";
fit();
