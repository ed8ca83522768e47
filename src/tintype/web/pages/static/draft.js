/** What the form has: remembered on this device as it is changed, put back with the page, and named by the address. */
import { fromAddress, requestInAddress } from "./link.js";
import { firstValues } from "./models.js";
import { short } from "./plates.js";

/** Milliseconds after which a change of the form is remembered. */
const PAUSE = 300;

/**
 * The keeping of one form.
 * @param {Model} model
 * @param {ReturnType<typeof import("./form.js").createForm>} form
 * @param {ReturnType<typeof import("./workspace.js").createWorkspace>} workspace
 * @param {{changed: () => void, attach: (id: string) => void}} tell `changed`: the form has other values; `attach`: the
 *   address names a request
 */
export function createDraft(model, form, workspace, tell) {
  /** The timer of what is to be remembered; 0 where all is. */
  let waits = 0;
  const remember = () => {
    clearTimeout(waits);
    waits = 0;
    workspace.saveForm(short(form.values()));
  };
  /** Follow the address: a request, or values over those of the form. */
  const open = () => {
    const [id, values] = [requestInAddress(), fromAddress(model)];
    if (id) tell.attach(id);
    if (!Object.keys(values).length) return;
    if (Object.keys(workspace.form()).length) form.replace(values, "Filled in from the link.");
    else form.write(values);
    tell.changed();
  };
  addEventListener("hashchange", () => {
    // What was typed a moment ago can be had back too.
    remember();
    open();
  });
  addEventListener("pagehide", () => waits && remember());
  return {
    open,
    /** Put back what this device remembers. */
    restore() {
      form.write({ ...firstValues(model), ...workspace.form() });
      tell.changed();
    },
    /** The form was changed: that is remembered, and the address names it no longer. */
    changed() {
      tell.changed();
      clearTimeout(waits);
      waits = setTimeout(remember, PAUSE);
      if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    },
    /**
     * Another key was given; an empty one: it was forgotten, and the form with it.
     * @param {string} key
     */
    move(key) {
      if (key) remember();
      clearTimeout(waits);
      workspace.move(key);
      if (!key) form.write(firstValues(model));
      tell.changed();
    },
  };
}
