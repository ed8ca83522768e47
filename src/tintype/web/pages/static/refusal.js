/** What went wrong, said where it was asked for. */
import { h } from "./dom.js";

/**
 * What an error says, and what to do next, in a line.
 * @param {Pick<Refusal, "message" | "advice">} error
 */
export const inWords = ({ message, advice }) => [message, advice].filter(Boolean).join(" ");

/**
 * The same in two lines, where there is room.
 * @param {Pick<Refusal, "message" | "advice">} error
 */
export const inLines = ({ message, advice }) => [h("p", {}, message), advice ? h("p.hint", {}, advice) : null];

/** The line of a form, or of a panel, that says what went wrong: its `element`, and ways to do something. */
export function createError() {
  const element = h("p.error", { role: "alert" });
  /**
   * Do something; what it throws is shown.
   * @param {() => Promise<unknown>} act
   */
  const during = async (act) => {
    element.textContent = "";
    try {
      await act();
    } catch (error) {
      element.textContent = inWords(/** @type {Refusal} */ (error));
    }
  };
  /**
   * A listener of a button, or of a form's submit, which does the same with the button disabled.
   * @param {() => Promise<unknown>} act
   */
  const listener = (act) => async (/** @type {Event} */ event) => {
    event.preventDefault();
    const button = event instanceof SubmitEvent ? event.submitter : event.currentTarget;
    if (!(button instanceof HTMLButtonElement)) return during(act);
    button.disabled = true;
    await during(act);
    button.disabled = false;
  };
  return { element, during, listener };
}
