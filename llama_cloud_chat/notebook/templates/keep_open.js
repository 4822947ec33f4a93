// A notebook draws an output anew whenever it is brought up to date: what the reader has opened or closed stays so.
// It is part of a view that is still growing, never of one that is saved in the end.
(() => {
  const output = document.currentScript?.parentElement;
  if (!output || output.lccChosen) return;
  const chosen = output.lccChosen = new Map();
  output.addEventListener("click", event => {
    const step = event.target.closest("summary")?.parentElement;
    if (step?.dataset.step) chosen.set(step.dataset.step, !step.open);
  });
  new MutationObserver(() => {
    for (const step of output.querySelectorAll("details[data-step]")) {
      if (chosen.has(step.dataset.step)) step.open = chosen.get(step.dataset.step);
    }
  }).observe(output, {childList: true});
})();
