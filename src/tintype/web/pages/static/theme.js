/** Light or dark: as the system has it, or as the reader chose on this device; loaded before a page is painted. */
import { remember, remembered } from "./remember.js";

const NAME = "theme";
const SYSTEM = "system";

/** What can be chosen. */
export const THEMES = [SYSTEM, "light", "dark"];

/** What is chosen. */
export const theme = () => remembered(NAME) ?? SYSTEM;

/** @param {string} chosen one of THEMES */
export function setTheme(chosen) {
  remember(NAME, chosen === SYSTEM ? null : chosen);
  show(chosen);
}

/** @param {string} chosen */
const show = (chosen) => document.documentElement.setAttribute("data-theme", chosen);

show(theme());
