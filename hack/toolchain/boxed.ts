/**
 * Finds parameters that scriptc boxes although their declared type is one string, number, boolean or byte array. scriptc
 * makes a parameter a union if any caller passes a value that may be undefined, such as `list[i] ?? ""`, or passes the
 * function to `map` or `some`. Then each call allocates.
 *
 * It reads the program as C (`scriptc build --emit c`), where such a parameter is a `ScrUnion *`, and the sources.
 */
import ts from "typescript";

const SCALARS: readonly string[] = ["string", "number", "boolean", "Uint8Array", "Buffer"];
const PROTOTYPE = /^static [^=\n]*?\bsc_f_(\w+)\(([^\n]*)\);$/gm;
const UNION = /^ScrUnion \*sc_[lp]_(\w+)_\d+$/;

/** A source file: its path, and its text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** The boxed parameters, sorted, as `lib/text.ts clip(text: string)`. */
export function boxedScalars(code: string, sources: readonly Source[]): string[] {
  const boxed = new Set<string>();
  for (const [, symbol = "", parameters = ""] of code.matchAll(PROTOTYPE)) {
    for (const text of parameters.split(", ")) {
      const parameter = UNION.exec(text)?.[1];
      if (parameter !== undefined) boxed.add(`${nameIn(symbol)} ${parameter}`);
    }
  }
  const scalars = sources.flatMap(scalarParameters).filter(({ name, parameter }) => boxed.has(`${name} ${parameter}`));
  return [...new Set(scalars.map(({ shown }) => shown))].sort();
}

/** The function's name in a symbol: `_x25_m3_clip` and `_x25__x25_m55_Index_x23_clip_x25_2` are both `clip`. */
function nameIn(symbol: string): string {
  return (
    symbol
      .replace(/_x25_\d+$/, "")
      .split("_")
      .at(-1) ?? ""
  );
}

interface Parameter {
  readonly name: string;
  readonly parameter: string;
  readonly shown: string;
}

/** The parameters of a file's functions and methods whose type is a scalar. */
function scalarParameters({ path, text }: Source): Parameter[] {
  const found: Parameter[] = [];
  const visit = (node: ts.Node): void => {
    if ((ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)) && node.name !== undefined) {
      const name = node.name.getText(file).replace("#", "");
      for (const one of node.parameters) {
        const type = one.type?.getText(file) ?? "";
        const parameter = one.name.getText(file);
        const isScalar = SCALARS.includes(type) && one.questionToken === undefined && one.initializer === undefined;
        if (isScalar) found.push({ name, parameter, shown: `${path} ${name}(${parameter}: ${type})` });
      }
    }
    ts.forEachChild(node, visit);
  };
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023);
  visit(file);
  return found;
}
