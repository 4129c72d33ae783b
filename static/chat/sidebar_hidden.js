// Whether the sidebar is hidden. The browser keeps that, and its width. On a phone it is a drawer, a popover.

const root = document.documentElement;

export const keep = (name, value) => {
  try {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  } catch {
    // Then it is for this page alone.
  }
};

export const hide = () => {
  root.dataset.sidebar = "hidden";
  keep("sidebar", "hidden");
  document.querySelector(".bar .menu")?.focus();
};

export const show = () => {
  delete root.dataset.sidebar;
  keep("sidebar", "");
  document.getElementById("hide-sidebar").focus();
};
