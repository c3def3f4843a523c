/**
 * Writes the manifest of a program's system-call boundary: of the functions in the manifests of lib/sys those that the program's
 * files declare. scriptc wants every function of a manifest to be declared.
 *
 *   node hack/toolchain/manifest.ts ENTRY.ts OUT.json MANIFEST.json...     OUT lies beside the objects
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

interface Manifest {
  readonly ffi_format: number;
  readonly functions: readonly { readonly name: string }[];
  readonly libraries: readonly string[];
  readonly system_libraries: readonly string[];
}

/** An import or export from a file of the project, apart from those of types alone. */
const IMPORT = /^(?:import|export) (?!type\b)(?:[^;"]*? from )?"(\.[^"]+\.ts)"/gm;
const DECLARED = /^declare function (\w+)\(/gm;

/** The functions of the boundary that the files declare which a program is made of. @param read returns the text of a file */
export function declaredIn(entry: string, read: (file: string) => string): Set<string> {
  const files = new Set([normalize(entry)]);
  const declared = new Set<string>();
  for (const file of files) {
    const text = read(file);
    for (const [, other = ""] of text.matchAll(IMPORT)) files.add(normalize(join(dirname(file), other)));
    for (const [, name = ""] of text.matchAll(DECLARED)) declared.add(name);
  }
  return declared;
}

/** The manifests as one, with these functions only. @throws Error if no manifest has one of them */
export function merged(manifests: readonly Manifest[], names: ReadonlySet<string>): Manifest {
  const functions = manifests.flatMap((manifest) => manifest.functions).filter(({ name }) => names.has(name));
  const bound = new Set(functions.map(({ name }) => name));
  const missing = [...names].filter((name) => !bound.has(name));
  if (missing.length > 0) throw new Error(`in no manifest: ${missing.join(", ")}`);
  return {
    ffi_format: 1,
    functions,
    libraries: manifests.flatMap(({ libraries }) => libraries),
    system_libraries: manifests.flatMap((manifest) => manifest.system_libraries),
  };
}

if (process.argv[1] === import.meta.filename) {
  const [entry = "", out = "", ...files] = process.argv.slice(2);
  const manifests = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as Manifest);
  const names = declaredIn(entry, (file) => readFileSync(file, "utf8"));
  writeFileSync(out, `${JSON.stringify(merged(manifests, names), null, 2)}\n`);
}
