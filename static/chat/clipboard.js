// The clipboard: copying a block of code, and an answer as it was written or as it looks.

import { byId } from "./page.js";
import { announce } from "./announcer.js";

// Also where the browser has no clipboard for scripts: on a plain http address.
const copyBySelection = (text) => {
  const field = document.createElement("textarea");
  field.className = "visually-hidden";
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  return isCopied;
};

// The text may be a promise: some browsers open the clipboard only while the click is handled.
const copyText = async (text) => {
  try {
    const blob = Promise.resolve(text).then((value) => new Blob([value], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    return true;
  } catch {
    return copyBySelection(await text);
  }
};

// Says on the button whether the text was copied; `copying` is a promise of that.
const copy = async (button, copying) => {
  const words = button.querySelector("span") ?? button;
  const before = words.textContent;
  const said = (await copying.catch(() => false)) ? "Copied" : "Not copied";
  if (before === "Copied" || before === "Not copied") return;
  words.textContent = said;
  announce(said);
  button.classList.add("done");
  setTimeout(() => {
    words.textContent = before;
    button.classList.remove("done");
  }, 2000);
};

// The block itself and those that continue it in the stretches that follow.
export const wholeOf = (block) => {
  const next = block.matches(":last-child") ? block.parentElement.nextElementSibling : null;
  return next?.matches(".on") ? [block, ...wholeOf(next.firstElementChild)] : [block];
};

export const codeOf = (block) => wholeOf(block).map((each) => each.querySelector("pre code").textContent).join("");

const markdownOf = async (address) => {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(response.statusText);
  return (await response.json()).text;
};

const copyRich = async (parts) => {
  const loading = import("./rich_text.js");
  const blob = async (form, type) => new Blob([(await loading)[form](parts)], { type });
  const forms = { "text/html": blob("toHtml", "text/html"), "text/plain": blob("toPlain", "text/plain") };
  await navigator.clipboard.write([new ClipboardItem(forms)]);
  return true;
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (!button) return;
  if (button.matches(".copy")) copy(button, copyText(codeOf(button.closest(".code"))));
  if (button.dataset.copyAnswer) copy(button, copyText(markdownOf(button.dataset.copyAnswer)));
  if (button.dataset.copyRich) copy(button, copyRich(byId(button.dataset.copyRich)));
});
