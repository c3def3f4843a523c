/** The suites of plugins that the clients run with, which runs are asked for, and the table of what ran. */
import { appendFileSync } from "node:fs";
import { access, constants, readdir } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { inject } from "vitest";
import { findReference } from "../../hack/reference.ts";
import { binDirectory } from "../../testbed/harness.ts";
import type { Node } from "./node.ts";
import { program } from "./programs.ts";

/** Whether all runs are asked for (`make conformance`), or those with Podwire that take little time (`make test`). */
export const everything = process.env.PODWIRE_CLIENTS === "all";

export interface Suite {
  /** "Podwire 0.1.0" */
  readonly name: string;
  readonly kind: "podwire" | "reference";
  /** Where the executables are; empty if they could not be had. */
  readonly directory: string;
}

/** Podwire; where all runs are asked for, the reference's latest as well. */
export async function suites(): Promise<Suite[]> {
  return everything ? [await podwire(), await reference()] : [await podwire()];
}

export async function podwire(): Promise<Suite> {
  /* Without an environment a plugin says who it is. */
  const { stderr } = await execa(join(binDirectory, "bridge"), [], { extendEnv: false, reject: false });
  const version = /podwire\S* (?:version )?v?(\d\S*)/i.exec(String(stderr))?.[1] ?? "";
  return { name: `Podwire ${version}`.trim(), kind: "podwire", directory: binDirectory };
}

export async function reference(): Promise<Suite> {
  const found = await findReference().catch(() => ({ directory: "", version: "" }));
  return { name: `reference ${found.version}`, kind: "reference", directory: found.directory };
}

/** The reference's version that Debian 12 ships. */
export async function olderReference(): Promise<Suite> {
  const { root, version } = await program("plugins11");
  return { name: `reference ${version}`, kind: "reference", directory: root === "" ? "" : join(root, "usr/lib/cni") };
}

/** Stands beside the plugins, and is none. */
const AGENT = "podwire-agent";

/** The names of a suite's plugins. */
export async function pluginsOf(suite: Suite): Promise<string[]> {
  const names: string[] = [];
  /* Below `bin` there are also directories, of what is built for other machines. */
  for (const entry of await readdir(suite.directory, { withFileTypes: true })) {
    if (entry.isDirectory() || entry.name === AGENT) continue;
    const runs = access(join(suite.directory, entry.name), constants.X_OK);
    if (
      await runs.then(
        () => true,
        () => false,
      )
    )
      names.push(entry.name);
  }
  return names.sort();
}

/** Puts all of a suite's plugins in place on a node. */
export async function installSuite(node: Node, suite: Suite): Promise<void> {
  await node.install(suite.directory, await pluginsOf(suite));
}

/** Notes for the table at the end of the run that something ran to its end, and against which real version. */
export function ran(client: string, suite: string, scenario: string): void {
  appendFileSync(inject("clientsReport"), `${JSON.stringify({ client, suite, scenario })}\n`);
}

declare module "vitest" {
  interface ProvidedContext {
    /** The file that `ran` writes to. */
    clientsReport: string;
  }
}
