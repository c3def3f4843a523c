/** What the tests of the reference suite show, behaviour by behaviour, and which tests show it here. */
import { LIBRARY } from "./behaviours/library.ts";
import { PLUGIN_BEHAVIOURS } from "./behaviours/plugins.ts";

export type { Behaviour, Shown } from "./behaviours/behaviour.ts";

export const BEHAVIOURS = [...LIBRARY, ...PLUGIN_BEHAVIOURS];
