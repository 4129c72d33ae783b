// The owner's side of shared links: the dialog that makes them, and the button that copies one.

const COPIED = 2000; // milliseconds

const makeDialog = () => {
  const dialog = document.createElement("dialog");
  dialog.id = "share-dialog";
  dialog.setAttribute("aria-labelledby", "share-heading");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.replaceChildren());
  document.body.append(dialog);
  return dialog;
};

export const open = async (link) => {
  const dialog = document.getElementById("share-dialog") ?? makeDialog();
  await htmx.ajax("GET", link.href, { source: dialog, target: dialog, swap: "innerHTML" });
  if (!dialog.childElementCount) location.assign(link.href); // the page says why
  else if (!dialog.open) {
    // The focus comes back to the menu's button: its items are hidden then.
    link.closest("[popover]")?.hidePopover();
    dialog.showModal();
  }
};

const copy = async (button) => {
  const field = button.parentElement.querySelector("input");
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    document.execCommand("copy"); // on a plain http address
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), COPIED);
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy-link]");
  if (button) copy(button);
});

// Without this script the address is selected by hand.
const showButtons = () => document.querySelectorAll("[data-copy-link][hidden]").forEach((each) => (each.hidden = false));
new MutationObserver(showButtons).observe(document.body, { childList: true, subtree: true });
showButtons();
