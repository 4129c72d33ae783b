// A conversation is renamed where it stands in the list.

import { isComposing } from "./page.js";
import { refresh, send } from "./sidebar_list.js";
import { say } from "./sidebar_menu.js";

const LONGEST = 80;

export const rename = (row) => {
  const title = row.querySelector(".title");
  if (!title || row.querySelector(".rename")) return;
  const id = row.dataset.conversation;
  const field = document.createElement("input");
  Object.assign(field, { className: "rename", value: title.textContent.trim(), maxLength: LONGEST, dir: "auto" });
  field.setAttribute("aria-label", "Title");
  title.hidden = true;
  title.before(field);
  field.focus();
  field.select();

  let isOver = false;
  const end = async (isKept) => {
    if (isOver) return;
    isOver = true;
    const before = title.textContent.trim();
    const after = field.value.trim();
    const hadFocus = document.activeElement === field || document.activeElement === document.body;
    title.hidden = false;
    field.remove();
    if (hadFocus) title.focus({ preventScroll: true });
    if (!isKept || !after || after === before) return refresh(id);
    title.textContent = after;
    const body = new FormData();
    body.set("title", after);
    const response = await send(`/c/${id}/change/`, body).catch(() => null);
    if (!response?.ok) {
      title.textContent = before;
      say("The title could not be kept. Try again.");
    }
    refresh(id, 0);
  };

  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (isComposing(event)) return;
    if (event.key === "Enter") end(true);
    if (event.key !== "Escape") return;
    event.preventDefault(); // or the drawer would close
    end(false);
  });
  field.addEventListener("blur", () => end(true));
};
