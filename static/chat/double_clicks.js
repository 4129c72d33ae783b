// The second click of a double click is for what took the first one, not for what has come in its place meanwhile: Stop
// where Send was, or the button that removes the next question.

const nameOf = (element) => element?.getAttribute("aria-label") ?? element?.textContent;

let first;

document.addEventListener("click", (event) => {
  if (!event.isTrusted) return;
  const element = event.target.closest("a, button");
  const clicked = { element, name: nameOf(element) };
  if (event.detail < 2) first = clicked;
  else if (element !== first?.element && clicked.name !== first?.name) {
    event.preventDefault();
    event.stopPropagation();
  }
}, true);
