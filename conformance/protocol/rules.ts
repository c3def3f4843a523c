/**
 * The rules of the CNI specification, versions 0.1.0 to 1.1.0, numbered, in our own words. The specification has headings
 * but no numbers; a rule's number is ours. Tests name the rules they show, and `coverage.ts` makes ../COVERAGE.md of both.
 */
import { CONFIGURATION } from "./rules/configuration.ts";
import { EXECUTION } from "./rules/execution.ts";
import { REQUESTS } from "./rules/requests.ts";
import { RESULTS } from "./rules/results.ts";
import type { Group, Rule } from "./rules/rule.ts";
import { UPKEEP } from "./rules/upkeep.ts";

export type { Group, Rule } from "./rules/rule.ts";

export const GROUPS: readonly Group[] = [...CONFIGURATION, ...REQUESTS, ...UPKEEP, ...EXECUTION, ...RESULTS];

export const RULES: readonly Rule[] = GROUPS.flatMap((group) => group.rules);

/** Whether a rule is a plugin's to keep, so that a test must show it. */
export function bindsPlugins(rule: Rule): boolean {
  return rule.binds.endsWith("plugin");
}
