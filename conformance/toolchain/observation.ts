/** What can be seen of a call: its answer, and the state of node and pod. As text, so that two programs can be compared. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { patience } from "../../testbed/call.ts";
import { type Execution, execute } from "../../testbed/starter.ts";
import { PLACES } from "../protocol/fuzz-places.ts";

/** A call and what it came to. */
export interface Observation {
  /** Which call, for a person. */
  readonly call: string;
  /** Exit status or signal, standard output, standard error. */
  readonly answer: string;
  /** What node and pod hold afterwards; "" if nobody looked. */
  readonly state: string;
}

/** Longer answers are cut, and end with a digest of the whole. */
const LONGEST = 4000;
const LIMIT_MS = 60_000;
const LOOK = join(import.meta.dirname, "../faults/look.batch");

/** Links, addresses, routes, neighbours, forwarding entries, qdiscs, filters, settings of one namespace. */
const NETWORK = `
  ip -j -d -batch "$LOOK"
  bridge -j fdb show
  bridge -j -d link show
  tc -j -d qdisc show
  for link in $(tc qdisc show | awk '$2 != "noqueue" { print $5 }' | sort -u); do
    for hook in root ingress egress; do tc filter show dev "$link" "$hook" 2> /dev/null; done
  done
  grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | sort`;

/** The node's, with rules and plugins' files, then the pod's. */
const STATE = `
  ${NETWORK}
  nft -j -s list ruleset
  find /run/podwire /var/lib/fuzz /var/lib/cni -type f -exec grep -H '' {} + 2> /dev/null | sort
  nsenter --net=${PLACES.netns} sh -c "$POD"`;

/** The state as lines, without what depends on when the kernel or a reader came by. @throws Error if it cannot be read */
export async function stateOf(): Promise<string> {
  const env = { LOOK, POD: NETWORK, PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  const command = { file: "/bin/sh", args: ["-c", STATE], env, stdin: "", timeoutMs: LIMIT_MS * patience };
  const { stdout, stderr, exitCode } = await execute(command);
  if (exitCode !== 0) throw new Error(`cannot read the state (${exitCode ?? "too slow"}): ${stderr}`);
  return stdout.split("\n").flatMap(objects).join("\n");
}

/** The objects of a JSON array as sorted lines; another line as it is. */
function objects(line: string): string[] {
  if (!line.startsWith("[")) return [plain(line)];
  return (JSON.parse(line) as { addr_info?: Address[] }[])
    .map((object) => plain(settled(JSON.stringify(withSettledOrder(object)))))
    .filter((text) => !KERNELS.test(text))
    .sort();
}

interface Address {
  readonly local?: string;
}

/** A link with its link-local addresses sorted, and last: when the kernel adds its own depends on when the link comes up. */
function withSettledOrder<T extends { addr_info?: Address[] }>(object: T): T {
  if (object.addr_info === undefined) return object;
  const rank = ({ local = "" }: Address): string => (local.startsWith("fe80:") ? local : "");
  return { ...object, addr_info: object.addr_info.toSorted((a, b) => rank(a).localeCompare(rank(b))) };
}

/** What the kernel adds when it finds an IPv6 address to be unique: routes, and groups in which it listens. */
const KERNELS = /^\{"type":"(\w+","dst":"(fe80|ff00)|(local|anycast)","dst":"[^"]*:)|^\{"mac":"33:33:ff:/;

/** An object whose link may not have settled: carrier and duplicate address detection come later. The stamp has a time in it. */
function settled(line: string): string {
  return (
    line
      /* The kernel makes it from a secret of the link. */
      .replace(/,?\{[^{}]*"stable-privacy":true[^{}]*\}/g, "")
      .replace(/"(NO-CARRIER|LOWER_UP|linkdown|dead)",?/g, "")
      .replace(/",\]/g, '"]')
      .replace(/,"tentative":true/g, "")
      .replace(/"(operstate|state)":"\w+"/g, '"$1":""')
      .replace(/"dst":"2[45]\d(\.\d+){3}",(.*)"metric":\d+/, '"dst":"STAMP",$2"metric":0')
  );
}

/** The answer as text. */
export function answerOf({ exitCode, signal, stdout, stderr }: Execution): string {
  return [`status ${exitCode ?? signal}`, shortened(plain(stdout)), shortened(plain(stderr))].join("\n");
}

/** Without the numbers of namespaces, times, the secrets that the kernel makes for each link, and what follows from them. */
function plain(text: string): string {
  return text
    .replace(/\b(net|overlay)-\d{6,}/g, "$1-N")
    .replace(/\bnetns 4 \d+/g, "netns 4 N")
    .replace(/"inode": \d+/g, '"inode": N')
    .replace(/\b(since-boot-ms|mark) \d+( sum [0-9a-f]+)?/g, "$1 N")
    .replace(/(\/stable_secret):[0-9a-f:]+/g, "$1:N")
    .replace(/"(\w+_timer|updated|used|confirmed)":[\d.]+/g, '"$1":0');
}

function shortened(text: string): string {
  if (text.length <= LONGEST) return text;
  return `${text.slice(0, LONGEST)}... ${createHash("sha256").update(text).digest("hex")}`;
}
