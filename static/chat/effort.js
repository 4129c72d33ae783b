// Effort: each model has levels of its own, or none. Loaded when another model is chosen.

import { byId } from "./page.js";

const LEVELS = { fast: "Fast", balanced: "Balanced", thorough: "Thorough" };

const picker = byId("id_model");
const effort = byId("id_effort");
// The effort that the user wants, also while a model is chosen that does not have it. Before this module was loaded only
// the user can have changed it.
let level = effort?.disabled ? "balanced" : effort?.value;

effort?.addEventListener("change", () => (level = effort.value));

export const offerLevels = () => {
  if (!effort) return;
  const words = JSON.parse(picker.selectedOptions[0].dataset.levels);
  const options = Object.entries(words).map(([name, word]) => new Option(`${LEVELS[name]} (${word})`, name));
  effort.disabled = !options.length;
  effort.replaceChildren(...(options.length ? options : [new Option("No effort levels")]));
  effort.value = level in words ? level : options.length ? "balanced" : effort.value;
  if (options.length && !effort.value) effort.value = options.at(-1).value;
};
