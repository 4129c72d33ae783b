// Where the focus goes when the element that had it is replaced or hidden: to what is the same now, to its neighbour, or to
// the box.

import { box, byId, thread } from "./page.js";

// The same thumb, the form that has come, or the rating that the form was for.
const findInFoot = (source, { id }) => {
  const answer = id.replace("foot-", "");
  const field = byId(`comment-${answer}`)?.querySelector("textarea");
  return field ?? byId(source.id || `say-${answer}`) ?? byId(`up-${answer}`);
};

// The same question; where that was removed, the one in its place.
const findInQueue = (focused) => {
  const item = focused.closest("li");
  if (!item) return box;
  const same = byId(item.id);
  if (same) return same.querySelector(focused.closest("details") ? "summary" : ".plain");
  const others = byId("queue").querySelectorAll("li .plain");
  return others[Math.min([...item.parentElement.children].indexOf(item), others.length - 1)] ?? box;
};

const findInShares = (dialog) => dialog.querySelector(".shares button:not([hidden])") ?? dialog.querySelector("select, a");

const find = (source, area, focused) => {
  if (area.matches(".foot")) return findInFoot(source, area);
  if (area.id === "queue") return findInQueue(focused);
  return area.id === "share-dialog" ? findInShares(area) : box;
};

const isLost = (...from) => [document.body, null, ...from].includes(document.activeElement);

export const refocus = (source, area, focused) =>
  requestAnimationFrame(() => {
    const isElsewhere = area.matches(".foot") ? document.activeElement?.matches("textarea, input") : !isLost(source, focused);
    if (isElsewhere) return;
    const found = find(source, area, focused);
    found?.focus({ preventScroll: !found.matches("textarea") });
  });

// The focus stays at the same arrow, or moves to the answer that has come; to its first button where that has ended.
export const refocusBranch = (source, place, group) =>
  requestAnimationFrame(() => {
    const shown = thread.children[place];
    if (!shown || !isLost(source)) return;
    const arrow = source.matches(".previous") ? ".previous" : source.matches(".next") ? ".next" : null;
    const same = arrow && shown.querySelector(`${group} ${arrow}:enabled`);
    const other = arrow && shown.querySelector(`${group} .attempts button:enabled`);
    (same || other || shown.querySelector(".retry") || shown.querySelector(".answer"))?.focus({ preventScroll: true });
  });
