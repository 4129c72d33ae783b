// An earlier question is edited where it stands.

import { byId, composer, conversation, isComposing, on, wire } from "./page.js";

// On a page that was loaded over plain http browsers have no randomUUID.
const makeId = () =>
  crypto.randomUUID?.() ??
  "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (digit) =>
    (digit ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (digit / 4)))).toString(16),
  );

export const open = (link) => {
  const question = link.closest(".question");
  if (question.matches(".open")) return;
  const form = byId("editor").content.cloneNode(true).querySelector("form");
  const { edits, conversation: place, turn, content } = form.elements;
  edits.value = link.dataset.edits;
  place.value = conversation();
  turn.value = makeId();
  content.value = question.querySelector("p").textContent;
  question.classList.add("open");
  question.append(form);
  htmx.process(form);
  content.focus();
};

const cancel = (form) => {
  const question = form.closest(".question");
  form.remove();
  question.classList.remove("open");
  question.querySelector(".edit").focus();
};

on("click", ({ target }) => target.matches(".editor .cancel") && cancel(target.form));

on("keydown", (event) => {
  const form = event.target.closest?.(".editor");
  if (!form || isComposing(event)) return;
  if (event.key === "Escape") {
    event.preventDefault();
    cancel(form);
  }
  if (event.key === "Enter" && !event.shiftKey && event.target.matches("textarea")) {
    event.preventDefault();
    if (!wire() && !event.repeat && event.target.value.trim()) form.requestSubmit();
  }
}, true);

// Another wording than the one that was sent is another turn.
on("input", ({ target }) => {
  if (target.matches(".editor textarea")) target.form.elements.turn.value = makeId();
});

// It is asked as the composer says.
on("submit", ({ target }) => {
  if (!target.matches(".editor")) return;
  for (const name of ["model", "effort"]) target.elements[name].value = composer.elements[name]?.value ?? "";
}, true);
