// The draft in the composer: stored until it is sent, in a box as high as its text.

import { box, byId, stored } from "./page.js";

export const draftKey = () => `draft:${location.pathname}`;

export const storeDraft = () =>
  stored((storage) => (box.value ? storage.setItem(draftKey(), box.value) : storage.removeItem(draftKey())));

// For browsers that do not know field-sizing.
const fitHeight = () => {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
};

export const write = (text) => {
  box.value = text;
  fitHeight();
  storeDraft();
  box.focus();
};

// Text that was typed while the question was being sent stays.
export const clearDraft = ({ text, draft }) => {
  byId("unavailable")?.remove();
  stored((storage) => storage.removeItem(draft));
  if (box.value === text) write("");
  else box.focus();
};

box.addEventListener("input", () => {
  fitHeight();
  storeDraft();
});

document.addEventListener("click", ({ target }) => {
  const example = target.closest("button")?.dataset.example;
  if (example) write(example);
});

// Another user has logged in, in the same tab.
stored((storage) => {
  const user = document.querySelector(".account > button").textContent;
  if ((storage.getItem("user") ?? user) !== user) storage.clear();
  storage.setItem("user", user);
});

if (!box.value) box.value = stored((storage) => storage.getItem(draftKey())) ?? "";
fitHeight();
