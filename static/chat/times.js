// The time of each message as its reader's clock has it; the whole date when it is pointed at.

import { findIn, onChanged, thread } from "./page.js";

const TODAY = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const EARLIER = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

const write = (root) => {
  for (const element of findIn(root, "time:not([title])")) {
    const at = new Date(element.dateTime);
    const isToday = at.toDateString() === new Date().toDateString();
    element.title = WHOLE.format(at);
    element.textContent = (isToday ? TODAY : EARLIER).format(at);
  }
};

onChanged(write);
write(thread);
