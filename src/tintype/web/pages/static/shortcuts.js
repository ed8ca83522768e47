/** The playground's shortcuts: Ctrl+Enter makes an image, Esc cancels one, but not while somebody types. */
import { active, titleOf } from "./plates.js";

/** What is typed in, which Esc only leaves. */
const TYPED = "input:not([type=range], [type=checkbox], [type=radio]), textarea, select";

/**
 * Listen to the keys while the playground is seen, and no dialog is open above it.
 * @param {Bench & {element: HTMLElement}} bench
 * @param {import("./queue.js").Queue} queue
 * @param {() => Plate | null} shown the plate on the stage
 */
export function listenToShortcuts(bench, queue, shown) {
  /** What is on the stage goes first, then the latest that runs. */
  const running = () => {
    const plate = shown();
    return plate && active(plate) ? plate : queue.all().find(active);
  };
  const leave = () => {
    const plate = running();
    if (!plate) return;
    const what = titleOf(bench.model, plate);
    const field = document.activeElement;
    if (field instanceof HTMLElement && field.matches(TYPED)) {
      field.blur();
      return bench.say(`Press Esc again to cancel ${what}.`);
    }
    queue.cancel(plate);
    bench.say(`Cancelling ${what} …`);
  };
  document.addEventListener("keydown", (event) => {
    if (!bench.element.checkVisibility() || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) bench.generate();
    }
    if (event.key === "Escape" && !event.defaultPrevented) leave();
  });
}
