/** The titles of all tests, read from the sources: which rules they name, without running any. */
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FILES = ["{lib,ipam,plugins,conformance}/**/*.test.ts", "conformance/faults/suite.ts"];
/* Groups of which only the values of a table say what they are. */
const NAMELESS = /^(?:version |backend |IPv)?%[sd]$/;
const TAGS = / \[([A-Z]+-\d+(?: [A-Z]+-\d+)*)\]$/;

export interface Title {
  /** Relative to the repository. */
  readonly file: string;
  /** The nearest group that it stands in and that has a name of its own; "" if there is none. */
  readonly group: string;
  /** As it stands in the source, "%s" and all, "…" for what a template fills in, without the rules. */
  readonly text: string;
  /** The rules that it names. */
  readonly rules: readonly string[];
}

/** All tests' titles, in the order of files and lines. */
export function allTitles(): Title[] {
  const files = globSync(FILES, { cwd: ROOT }).sort();
  return files.flatMap((file) => titlesOf(file, readFileSync(new URL(file, `file://${ROOT}`), "utf8")));
}

/** The titles of a file's tests. */
export function titlesOf(file: string, source: string): Title[] {
  const titles: Title[] = [];
  const parsed = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
  const visit = (node: ts.Node, group: string): void => {
    let inner = group;
    if (ts.isCallExpression(node)) {
      const text = titleOf(node);
      const callee = text === null ? "" : calleeOf(node);
      if ((callee === "test" || callee === "it") && text !== null) {
        const rules = TAGS.exec(text)?.[1]?.split(" ") ?? [];
        titles.push({ file, group, text: text.replace(TAGS, ""), rules });
      }
      if (callee === "describe" && text !== null && !NAMELESS.test(text)) inner = text;
    }
    ts.forEachChild(node, (child) => visit(child, inner));
  };
  visit(parsed, "");
  return titles;
}

/** The first argument of a call if it is a text; what a template fills in is "…". */
function titleOf(call: ts.CallExpression): string | null {
  const [title] = call.arguments;
  if (title === undefined) return null;
  if (ts.isStringLiteralLike(title)) return title.text;
  if (!ts.isTemplateExpression(title)) return null;
  return title.head.text + title.templateSpans.map((span) => `…${span.literal.text}`).join("");
}

/** The function at the root of a callee: "test" for `test(...)`, `test.each(...)(...)` and ``test.each`...`(...)``. */
function calleeOf(call: ts.CallExpression): string {
  let callee: ts.Expression = call.expression;
  while (!ts.isIdentifier(callee)) {
    if (ts.isCallExpression(callee) || ts.isPropertyAccessExpression(callee)) callee = callee.expression;
    else if (ts.isTaggedTemplateExpression(callee)) callee = callee.tag;
    else return "";
  }
  return callee.text;
}
