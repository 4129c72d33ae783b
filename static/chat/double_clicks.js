// The second click of a double click is for what took the first one, not for what has come in its place meanwhile: Stop
// where Send was, or the button that removes the next question.

const nameOf = (element) => element?.getAttribute("aria-label") ?? element?.textContent;

let first;

document.addEventListener("click", (event) => {
  const name = nameOf(event.target.closest("a, button"));
  if (event.detail < 2) first = name;
  else if (name !== first) {
    event.preventDefault();
    event.stopPropagation();
  }
}, true);
