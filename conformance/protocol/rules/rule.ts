/** A rule of the CNI specification, and what the lists of the sections are written with. */

/** Whom a rule binds. "plugin" is any of ours, "delegating plugin" one that calls another, "author" who writes a configuration. */
export type Bound = "plugin" | "delegating plugin" | "IPAM plugin" | "runtime" | "author" | "specification";

export interface Rule {
  /** Group and running number: tests name it in brackets at the end of their titles, "[ADD-4]". */
  readonly id: string;
  readonly level: "must" | "should" | "may";
  readonly binds: Bound;
  /** The rule in our own words. */
  readonly text: string;
  /** Where Podwire does not do what the rule says: what it does and why. Tests show it all the same. */
  readonly differs?: string;
  /** Why no test can show it, for a rule that binds a plugin. */
  readonly untested?: string;
}

/** A group of rules under one heading of the specification. */
export interface Group {
  /** The number of the section and its heading. */
  readonly heading: string;
  readonly rules: readonly Rule[];
}

type Remark = Pick<Rule, "differs" | "untested">;

export function must(id: string, binds: Bound, text: string, remark: Remark = {}): Rule {
  return { id, level: "must", binds, text, ...remark };
}

export function should(id: string, binds: Bound, text: string, remark: Remark = {}): Rule {
  return { id, level: "should", binds, text, ...remark };
}

export function may(id: string, binds: Bound, text: string, remark: Remark = {}): Rule {
  return { id, level: "may", binds, text, ...remark };
}
