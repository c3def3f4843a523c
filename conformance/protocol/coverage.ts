/**
 * Makes ../COVERAGE.md: the rules of the specification, the error codes and the behaviours of the reference's own tests,
 * each with the tests that show it. `node conformance/protocol/coverage.ts` writes it; a test compares it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { BEHAVIOURS, type Behaviour, type Shown } from "./behaviours.ts";
import { CODES, WAYS, wayOf } from "./codes.ts";
import { PLUGINS } from "./names.ts";
import { bindsPlugins, GROUPS, RULES, type Rule } from "./rules.ts";
import { allTitles, type Title } from "./titles.ts";

export const DOCUMENT = new URL("../COVERAGE.md", import.meta.url);

/** What keeps the table from being true: rules without test, tests that name no rule, behaviours whose test is not there. */
export function problemsWith(titles: readonly Title[]): string[] {
  const problems: string[] = [];
  const known = new Set(RULES.map((rule) => rule.id));
  if (known.size !== RULES.length) problems.push("two rules have one number");
  for (const { file, text, rules } of titles) {
    for (const id of rules) if (!known.has(id)) problems.push(`${file}: "${text}" names ${id}, which is no rule`);
  }
  for (const rule of RULES) {
    const tests = testsOf(rule, titles).length;
    if (!bindsPlugins(rule)) continue;
    if (tests === 0 && rule.untested === undefined) problems.push(`${rule.id} has no test: ${rule.text}`);
    if (tests > 0 && rule.untested !== undefined) problems.push(`${rule.id} has a test and a reason for none`);
  }
  for (const { text, shown } of BEHAVIOURS.flatMap((area) => area.behaviours)) {
    if (typeof shown === "string") continue;
    for (const test of shown) {
      const files = new Set(titlesAt(test, titles).map(({ file }) => file)).size;
      if (files !== 1) problems.push(`"${text}": ${files} files ${test.file} have a test "${test.title}"`);
    }
  }
  return problems;
}

/** A test's file with its path, without what all have behind it. */
const nameOf = ({ file }: Title): string => `/${file.replace(/(?:\.test)?\.ts$/, "")}`;

function testsOf(rule: Rule, titles: readonly Title[]): Title[] {
  return titles.filter((title) => title.rules.includes(rule.id));
}

function titlesAt(test: Shown, titles: readonly Title[]): Title[] {
  return titles.filter((title) => nameOf(title).endsWith(`/${test.file}`) && title.text === test.title);
}

/** The document. */
export function documentOf(titles: readonly Title[]): string {
  const plugin = RULES.filter(bindsPlugins);
  const untested = plugin.filter((rule) => rule.untested !== undefined).length;
  const differing = plugin.filter((rule) => rule.differs !== undefined).length;
  const counts = [
    `${RULES.length} rules`,
    `${plugin.length} bind plugins: ${plugin.length - untested} have tests, ${untested} have a reason for none`,
    `${differing} are kept in another way, which tests show`,
    `the other ${RULES.length - plugin.length} are a runtime's or an author's`,
  ];
  return `${[
    "# Coverage",
    "",
    "Made by `make coverage`; a test fails if it is not what that makes.",
    "",
    "The rules are those of the [CNI specification](https://github.com/containernetworking/cni/blob/main/SPEC.md), 0.1.0 to",
    "1.1.0, in our own words. The numbers are ours: the specification has none. A test's title ends with the rules it shows.",
    "",
    `${counts.join("; ")}.`,
    ...GROUPS.flatMap((group) => [
      "",
      `## ${group.heading}`,
      "",
      ...table(
        HEAD,
        group.rules.map((rule) => row(rule, titles)),
      ),
    ]),
    "",
    "## Error codes",
    "",
    "How each code is brought about, by [codes](protocol/codes.test.ts).",
    "",
    ...codeTable(),
    "",
    ...CODES.flatMap(({ code, others }) => (others === undefined ? [] : [`- ${code}: ${others}.`])),
    ...BEHAVIOURS.flatMap((area) => [
      "",
      `## What the reference's tests show: ${area.name}`,
      "",
      ...behaviourTable(area.behaviours, titles),
    ]),
  ].join("\n")}\n`;
}

const HEAD = ["rule", "binds", "says", "status", "tests"];

function row(rule: Rule, titles: readonly Title[]): string[] {
  return [
    rule.id,
    `${rule.binds}, ${rule.level}`,
    rule.text,
    statusOf(rule),
    testsOf(rule, titles).map(linkTo).join("<br>"),
  ];
}

function statusOf(rule: Rule): string {
  if (!bindsPlugins(rule)) return "not a plugin's";
  if (rule.untested !== undefined) return rule.untested;
  return rule.differs === undefined ? "tested" : `tested, differs: ${rule.differs}`;
}

/** A test as a link to its file, and its title. */
function linkTo({ file, group, text }: Title): string {
  const name = file.replace(/(?:\.test)?\.ts$/, "").replace(/^conformance\/(?:plugins\/|protocol\/)?/, "");
  const path = file.startsWith("conformance/") ? file.slice("conformance/".length) : `../${file}`;
  return `[${name}](${path}): ${group === "" ? "" : `${group} › `}${text}`;
}

function codeTable(): string[] {
  const rows = CODES.map((code) => [
    `${code.code}: ${code.meaning}`,
    ...PLUGINS.map((plugin) => {
      const way = wayOf(code, plugin);
      return way === null ? "-" : WAYS[way];
    }),
  ]);
  return table(["code", ...PLUGINS], rows);
}

function behaviourTable(behaviours: readonly Behaviour[], titles: readonly Title[]): string[] {
  const rows = behaviours.map(({ text, shown }) => [
    text,
    typeof shown === "string"
      ? shown
      : shown.flatMap((test) => titlesAt(test, titles).slice(0, 1).map(linkTo)).join("<br>"),
  ]);
  return table(["behaviour", "tests"], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)];
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

/** What is written down. */
export function committed(): string {
  return readFileSync(DOCUMENT, "utf8");
}

if (import.meta.main) {
  const titles = allTitles();
  const problems = problemsWith(titles);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else writeFileSync(DOCUMENT, documentOf(titles));
}
