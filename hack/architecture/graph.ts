/** Which file of the product uses which, and what it takes from there, as the sources say. */
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, normalize, resolve } from "node:path";
import ts from "typescript";

const repository = resolve(import.meta.dirname, "../..");
/** The folders of the product: what the executables are made of. */
const PRODUCT = ["lib", "ipam", "plugins", "agent"];
const EVERYTHING = [...PRODUCT, "hack", "testbed", "conformance", "bench"];

export interface Import {
  readonly file: string;
  /** The names that are taken; "*" for all. */
  readonly names: readonly string[];
}

export interface Source {
  readonly file: string;
  readonly imports: readonly Import[];
  /** Names of functions, classes and constants. Types are what their signatures are made of. */
  readonly exports: readonly string[];
  /** Names of constants at the top of the file. */
  readonly constants: readonly string[];
}

/** The product's files, tests apart. */
export async function productSources(): Promise<Source[]> {
  return sourcesIn(PRODUCT, (file) => !file.endsWith(".test.ts"));
}

/** All files, with tests and tools. */
export async function allSources(): Promise<Source[]> {
  return sourcesIn(EVERYTHING, () => true);
}

async function sourcesIn(folders: readonly string[], chosen: (file: string) => boolean): Promise<Source[]> {
  const sources: Source[] = [];
  for (const folder of folders) {
    for (const name of await readdir(join(repository, folder), { recursive: true })) {
      const file = join(folder, name);
      if (!file.endsWith(".ts") || !chosen(file)) continue;
      sources.push(read(file, await readFile(join(repository, file), "utf8")));
    }
  }
  return sources.sort((a, b) => (a.file < b.file ? -1 : 1));
}

function read(file: string, text: string): Source {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const exports: string[] = [];
  const constants: string[] = [];
  for (const statement of tree.statements) {
    if (ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)) {
      const from = statement.moduleSpecifier;
      if (from !== undefined && ts.isStringLiteral(from) && /^\..*\.ts$/.test(from.text)) {
        imports.push({ file: normalize(join(dirname(file), from.text)), names: namesOf(statement) });
      }
      continue;
    }
    const names = declaredBy(statement);
    if (ts.isVariableStatement(statement)) constants.push(...names);
    const isType = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement);
    if (isExported(statement) && !isType) exports.push(...names);
  }
  return { file, imports, exports, constants };
}

function namesOf(statement: ts.ImportDeclaration | ts.ExportDeclaration): string[] {
  const bindings = ts.isImportDeclaration(statement) ? statement.importClause?.namedBindings : statement.exportClause;
  if (bindings === undefined || ts.isNamespaceImport(bindings) || ts.isNamespaceExport(bindings)) return ["*"];
  const names: string[] = [];
  for (const element of bindings.elements) names.push((element.propertyName ?? element.name).text);
  return names;
}

function isExported(statement: ts.Statement): boolean {
  if (!ts.canHaveModifiers(statement)) return false;
  return ts.getModifiers(statement)?.some((one) => one.kind === ts.SyntaxKind.ExportKeyword) === true;
}

function declaredBy(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.flatMap(({ name }) => (ts.isIdentifier(name) ? [name.text] : []));
  }
  const named = ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement);
  return named && statement.name !== undefined ? [statement.name.text] : [];
}

/** Circles of files that use each other: of each the files in order, found once. */
export function circlesIn(sources: readonly Source[]): string[][] {
  const used = new Map(sources.map(({ file, imports }) => [file, imports.map((one) => one.file)]));
  const circles = new Map<string, string[]>();
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      const circle = path.slice(at);
      circles.set([...circle].sort().join(" "), circle);
      return;
    }
    if (done.has(file)) return;
    for (const next of used.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const { file } of sources) visit(file, []);
  return [...circles.values()];
}
