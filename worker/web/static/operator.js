// Live updates of the operator's page, and its button that selects all dead letters. The page also works without it.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const live = () => document.getElementById("live");

  // Do not update while a person reads a table or has the focus in this part.
  const isInUse = () => document.hidden || live().contains(document.activeElement) || live().querySelector("details[open]") !== null;

  const refresh = async () => {
    if (isInUse()) return;
    try {
      const options = { headers: { Accept: "text/html" }, redirect: "error", signal: AbortSignal.timeout(EVERY_MS) };
      const answer = await fetch("/", options);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (answer.ok && fresh === null) location.reload();
      if (answer.ok && fresh !== null && !isInUse()) {
        live().replaceWith(fresh);
        show();
      }
      tell(!answer.ok);
    } catch {
      tell(true);
    }
  };
  const tell = (isOld) => {
    document.getElementById("old").hidden = !isOld;
  };
  const show = () => {
    live().querySelector("[data-refreshes]").hidden = false;
  };

  if (live() !== null) {
    show();
    setInterval(refresh, EVERY_MS);
  }
  for (const form of document.querySelectorAll("[data-choice]")) {
    const all = form.querySelector("[data-choose-all]");
    all.hidden = false;
    all.addEventListener("click", () => {
      const boxes = [...form.querySelectorAll("[name=letter]")];
      const wanted = !boxes.every((box) => box.checked);
      for (const box of boxes) box.checked = wanted;
    });
  }
})();
