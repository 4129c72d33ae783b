// The actions of the buttons of a block of code: wrap its lines, download it, unfold it.

import { codeOf, wholeOf } from "./clipboard.js";
import { languageOf } from "./code.js";

const EXTENSIONS = { python: "py", javascript: "js", typescript: "ts", bash: "sh", shell: "sh", markdown: "md", rust: "rs" };

const toggleFold = (button) => {
  const block = button.closest(".code");
  const isOpen = !block.classList.toggle("folded");
  button.textContent = isOpen ? "Fold" : button.dataset.words;
  wholeOf(block).slice(1).forEach((rest) => rest.classList.toggle("after-fold", !isOpen));
  button.setAttribute("aria-expanded", isOpen);
  if (!isOpen) block.scrollIntoView({ block: "nearest" });
};

const download = (block) => {
  const language = languageOf(block).toLowerCase();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([codeOf(block)], { type: "text/plain" }));
  link.download = `code.${EXTENSIONS[language] ?? (/^[a-z0-9]{1,8}$/.test(language) ? language : "txt")}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

const toggleWrap = (button) => {
  const isWrapped = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", isWrapped);
  wholeOf(button.closest(".code")).forEach((block) => block.classList.toggle("wrapped", isWrapped));
};

export const press = (button) => {
  if (button.matches(".unfold")) toggleFold(button);
  else if (button.matches(".download")) download(button.closest(".code"));
  else toggleWrap(button);
};
