// Loads a module that is used rarely at its first use, and passes it the element that was used.

// `act` names what the module exports. A link with Ctrl, ⌘ or Shift is the browser's own.
export const onUse = (type, selector, load, act) =>
  document.addEventListener(type, (event) => {
    const element = event.target.closest?.(selector);
    if (!element || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const giveUp = () => (element.href ? location.assign(element.href) : sayUnloaded());
    load().then((module) => module[act](element, event)).catch(giveUp);
  });

export const run = (load, act, ...args) => load().then((module) => module[act](...args), sayUnloaded);

// connection.js says it: what is not a link has no other way.
const sayUnloaded = () => document.dispatchEvent(new Event("unloaded"));
