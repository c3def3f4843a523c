/** Which programs the sources of tests and tools start, as far as it can be read there. */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import ts from "typescript";
import { programsOf, programsOfShell, UNKNOWN } from "./shell.ts";

/** A program's name or path, and where it is started. */
export interface Start {
  readonly program: string;
  /** "path:line". */
  readonly place: string;
}

/** Functions whose first argument is a program and whose second are its words. */
const STARTERS = new Set([
  "exec",
  "execa",
  "execaSync",
  "execFile",
  "execFileSync",
  "runProgram",
  "spawn",
  "spawnSync",
]);
/** Functions whose first argument is a line for the shell. */
const SHELLS = new Set(["shell"]);

/** All starts that a file shows: TypeScript, Python, a Makefile or a script. */
export async function startsIn(path: string): Promise<Start[]> {
  const text = await readFile(path, "utf8");
  if (path.endsWith(".ts")) return startsInTypeScript(path, text);
  const programs = startsElsewhere(path, text);
  return programs.map((program) => ({ program, place: path }));
}

function startsElsewhere(path: string, text: string): string[] {
  if (path.endsWith(".py"))
    return [...text.matchAll(/\b(?:subprocess\.\w+|os\.(?:system|popen|exec\w+))\(\[?\s*["']([^\s"']+)/g)].map(
      (match) => match[1] ?? "",
    );
  if (basename(path) === "Makefile") return programsOfShell(recipes(text));
  return text.startsWith("#!") && /^#!.*sh\b/.test(text) ? programsOfShell(text) : [];
}

/** The recipes of a Makefile as one script; make's own variables and functions are unknown words. */
function recipes(text: string): string {
  const lines = text.replaceAll("\\\n", " ").split("\n");
  const called = [...text.matchAll(/\$\(shell (.*)\)\s*$/gm)].map((match) => match[1] ?? "");
  const own = lines.filter((line) => line.startsWith("\t")).map((line) => line.replace(/^\t[@+-]*/, ""));
  let script = [...own, ...called].join("\n");
  for (let before = ""; before !== script; ) {
    before = script;
    script = script.replace(/(?<!\$)\$\([^()]*\)/g, UNKNOWN);
  }
  return script.replace(/(?<!\$)\$[@<^*]/g, UNKNOWN).replaceAll("$$", "$");
}

export function startsInTypeScript(path: string, text: string): Start[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const starts: Start[] = [];
  const add = (node: ts.Node, programs: readonly string[]): void => {
    const line = file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;
    for (const program of programs) starts.push({ program, place: `${path}:${line}` });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) add(node, programsOfCall(node));
    else if (ts.isArrayLiteralExpression(node)) add(node, programsOfArray(node));
    else if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)) {
      const script = textOf(node);
      if (/^#!\S*sh\b/.test(script)) add(node, programsOfShell(script));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return starts;
}

function programsOfCall(node: ts.CallExpression): string[] {
  const callee = ts.isPropertyAccessExpression(node.expression) ? node.expression.name : node.expression;
  const [first, second] = node.arguments;
  if (!ts.isIdentifier(callee) || first === undefined) return [];
  if (SHELLS.has(callee.text)) return programsOfShell(textOf(first));
  /* A regular expression has one argument, and a method of a program's own has no list. */
  if (!STARTERS.has(callee.text) || (callee.text === "exec" && (second === undefined || !isList(second)))) return [];
  return choices(first).flatMap((program) => programsOf([program, ...wordsOf(second)]));
}

/** Words that are made ready somewhere else: those of a program that starts others, or with "--" before the next one. */
function programsOfArray(node: ts.ArrayLiteralExpression): string[] {
  const words = wordsOf(node);
  const end = words.indexOf("--");
  if (end >= 0) return programsOf(words.slice(end + 1));
  return /^(\/usr\/bin\/)?(nsenter|unshare|setpriv|strace|timeout)$/.test(words[0] ?? "") ||
    (/^(\/bin\/)?(ba)?sh$/.test(words[0] ?? "") && /^-[a-z]*c$/.test(words[1] ?? ""))
    ? programsOf(words)
    : [];
}

function isList(node: ts.Expression): boolean {
  return !ts.isStringLiteralLike(node) && !ts.isSpreadElement(node);
}

/** What an expression may be: one text, or those of a choice. */
function choices(node: ts.Expression): string[] {
  return ts.isConditionalExpression(node) ? [...choices(node.whenTrue), ...choices(node.whenFalse)] : [textOf(node)];
}

function wordsOf(node: ts.Expression | undefined): string[] {
  if (node === undefined || !ts.isArrayLiteralExpression(node)) return [];
  return node.elements.flatMap((element) =>
    ts.isSpreadElement(element) && ts.isArrayLiteralExpression(element.expression)
      ? wordsOf(element.expression)
      : [textOf(element)],
  );
}

/** The text of a literal, with `UNKNOWN` for what is known only when it runs. */
function textOf(node: ts.Node): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node))
    return [node.head.text, ...node.templateSpans.map((span) => UNKNOWN + span.literal.text)].join("");
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken)
    return textOf(node.left) + textOf(node.right);
  return UNKNOWN;
}
