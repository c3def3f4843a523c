/** The programs that run parts of the agent by themselves: testbed/probes, compiled as the agent is. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../../testbed/call.ts";

const machine = process.arch === "arm64" ? "arm64" : "amd64";

/** Where a probe is. @throws Error if it has not been built */
export function probe(name: "tls-client" | "loop-driver" | "api-watch"): string {
  const file = join(repository, "build", machine, "probes", name);
  if (!existsSync(file)) throw new Error(`${file} is missing: run "make probes"`);
  return file;
}
