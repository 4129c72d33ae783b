// Whether the sidebar is hidden. The browser keeps that, and its width.

const root = document.documentElement;
const sidebar = document.getElementById("sidebar");
const hide = document.getElementById("hide-sidebar");

// On a phone the sidebar is a drawer, which its button opens as a popover.
const isDrawer = matchMedia("(width < 52rem)");

export const keep = (name, value) => {
  try {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  } catch {
    // Then it is for this page alone.
  }
};

const setHidden = (isHidden) => {
  if (isHidden) root.dataset.sidebar = "hidden";
  else delete root.dataset.sidebar;
  keep("sidebar", isHidden ? "hidden" : "");
};

hide.addEventListener("click", () => {
  if (isDrawer.matches) return sidebar.hidePopover();
  setHidden(true);
  document.querySelector(".bar .menu")?.focus();
});

document.addEventListener("click", (event) => {
  if (isDrawer.matches || !event.target.closest(".bar .menu")) return;
  event.preventDefault(); // no drawer: it has room beside the page
  setHidden(false);
  hide.focus();
});
