/** Calls the Go program here, a runtime over the real libcni, on a node. */
import type { JsonObject } from "../../../testbed/harness.ts";
import type { Node } from "../node.ts";

export interface AttachRequest {
  readonly operation: "add" | "check" | "del" | "cached" | "validate" | "gc" | "status";
  readonly config: unknown;
  /** Where the plugins are, if not where the node has them. */
  readonly pluginPath?: readonly string[];
  readonly containerID?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: readonly (readonly [string, string])[];
  readonly capabilityArgs?: JsonObject;
  readonly valid?: readonly { readonly containerID: string; readonly ifname: string }[];
}

export interface AttachAnswer {
  readonly result?: JsonObject;
  readonly cached?: JsonObject;
  readonly cachedConfig?: JsonObject;
  readonly capabilities?: readonly string[];
  readonly error?: { readonly code: number; readonly msg: string; readonly details: string; readonly text: string };
}

/** Where libcni keeps what it must remember. */
export const CACHE = "/var/lib/cni";

/** One operation in a process of its own. */
export async function attach(node: Node, executable: string, request: AttachRequest): Promise<AttachAnswer> {
  const input = JSON.stringify({ pluginPath: [node.bin], ...request, cacheDirectory: CACHE });
  const outcome = await node.run(executable, [], { input });
  if (outcome.stdout.trim() === "") throw new Error(`no answer: ${outcome.exitCode}: ${outcome.stderr}`);
  return JSON.parse(outcome.stdout) as AttachAnswer;
}

/** The addresses in a result of any version, without their prefixes' lengths. */
export function addressesOf(result: JsonObject): string[] {
  const entries = (result.ips ?? []) as { address: string }[];
  const old = [result.ip4, result.ip6].filter((entry) => entry !== undefined) as { ip: string }[];
  return [...entries.map((entry) => entry.address), ...old.map((entry) => entry.ip)].map(
    (text) => text.split("/")[0] ?? "",
  );
}
