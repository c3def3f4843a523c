/** Command lines that do what an object's kind does, as a person would type them: for `explain`. */
import type { FairQueue, TokenBucket } from "../netlink/qdisc.ts";
import { SHAPER_HANDLE } from "../netlink/qdisc.ts";
import { hexNumber, shellWord } from "../text.ts";
import type { Where } from "./kernel.ts";

/** A command line in one of the two namespaces. @param netns the path of the container's */
export function commandIn(where: Where, netns: string, line: string): string {
  return where === "host" ? line : `nsenter --net=${shellWord(netns)} ${line}`;
}

/** With slashes, since interface names may hold dots. */
export function sysctlCommand(path: readonly string[], value: string): string {
  return `sysctl -w ${shellWord(`${path.join("/")}=${value}`)}`;
}

/** The two queueing disciplines of a link that holds a rate. */
export function shaperCommands(link: string, bucket: TokenBucket, queue: FairQueue): string[] {
  const major = hexNumber(SHAPER_HANDLE / 0x10000);
  const peak = bucket.packetBytes > 0 ? ` peakrate 140737488355328bit mtu ${bucket.packetBytes}b` : "";
  return [
    `tc qdisc replace dev ${shellWord(link)} root handle ${major}: tbf rate ${bucket.rateBytesPerSecond * 8}bit` +
      ` burst ${bucket.burstBytes}b limit ${bucket.queueBytes}b${peak}`,
    `tc qdisc replace dev ${shellWord(link)} parent ${major}:1 fq_codel limit ${queue.packets}` +
      ` target ${queue.targetUs}us interval ${queue.intervalUs}us || true # a kernel without fq_codel has one queue for all`,
  ];
}
