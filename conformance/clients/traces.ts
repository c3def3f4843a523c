/** What attachments leave on a node, to be empty when they are over. */
import type { Node } from "./node.ts";

/** What to look for beyond links and leases. */
export interface Gone {
  /** Container or sandbox IDs. */
  readonly ids?: readonly string[];
  /** Addresses that attachments had. */
  readonly addresses?: readonly string[];
}

/** Links that no attachment has made. A bridge and a tunnel to other nodes stay, too. */
const NODES_OWN: ReadonlySet<string> = new Set(["lo", "underlay", "wire"]);

/**
 * Everything on the node that belongs to attachments, a line each: links other than bridges, leases, files of runtimes
 * and plugins that name a container, lines of the packet filter that name a container or an address.
 */
export async function traces(node: Node, gone: Gone = {}): Promise<string[]> {
  const found: string[] = [];
  for (const link of await node.query("link", "show")) {
    const kind = (link.linkinfo as { info_kind?: string } | undefined)?.info_kind;
    if (NODES_OWN.has(String(link.ifname)) || kind === "bridge" || kind === "vxlan") continue;
    found.push(`link ${link.ifname}`);
  }
  const leases = await node.run("find", ["/var/lib/cni/networks", "-type", "f", "-path", "*/networks/*/*[.:]*"]);
  for (const path of lines(leases.stdout))
    if (!/last_reserved_ip|\/lock$|\/\.podwire\//.test(path)) found.push(`lease ${path}`);
  const ids = gone.ids ?? [];
  if (ids.length > 0) {
    const patterns = ids.flatMap((id) => ["-e", id]);
    const files = await node.run("grep", ["-rlF", ...patterns, "/var/lib/cni", "/run/podwire"]);
    for (const path of lines(files.stdout)) found.push(`file ${path}`);
    const names = await node.run("find", ["/var/lib/cni", "/run/podwire", "-type", "f"]);
    for (const path of lines(names.stdout)) if (ids.some((id) => path.includes(id))) found.push(`file ${path}`);
  }
  const wanted = [...ids, ...(gone.addresses ?? [])].map((word) => word.replaceAll(".", "\\."));
  if (wanted.length > 0) {
    const expression = new RegExp(`(?<![0-9a-f.:])(${wanted.join("|")})(?![0-9a-f])`);
    for (const line of lines((await node.run("nft", ["list", "ruleset"])).stdout))
      if (expression.test(line)) found.push(`filter ${line.trim().slice(0, 200)}`);
  }
  return [...new Set(found)].sort();
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
