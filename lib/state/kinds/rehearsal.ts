/**
 * Whether this kernel can shape at all, found out by doing it: in a network namespace that nobody sees and that goes with
 * everything in it, since kernels do not tell what they could do without doing it.
 */
import { inNewNamespace } from "../../host/namespace.ts";
import type { FairQueue, TokenBucket } from "../../netlink/qdisc.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { Kernel, kernelRefused } from "../kernel.ts";
import { IfbKind } from "./ifb.ts";
import { RedirectKind } from "./redirect.ts";

const NAME = "ifb-rehearsal";
const MAC = new Uint8Array([2, 0, 0, 0, 0, 1]);
const BUCKET: TokenBucket = { rateBytesPerSecond: 125_000, burstBytes: 15_140, queueBytes: 3125, packetBytes: 1514 };
const QUEUE: FairQueue = { packets: 32, targetUs: 12_112, intervalUs: 100_000 };

/** @throws CniError 100 that names what the kernel lacks */
export function rehearse(): void {
  inNewNamespace(() => {
    const kernel = Kernel.forHost();
    try {
      new IfbKind({
        kind: "ifb",
        where: "host",
        name: NAME,
        mac: MAC,
        mtu: 1500,
        alias: NAME,
        bucket: BUCKET,
        queue: QUEUE,
      }).make(kernel);
      new RedirectKind({
        kind: "redirect",
        where: "host",
        link: "lo",
        ifb: NAME,
        hook: "ingress",
        matches: [{ rank: 2, subnet: null, end: "source", shaped: true }],
      }).make(kernel);
    } catch (error) {
      if (error instanceof NetlinkError) throw kernelRefused(error, "cannot shape traffic", "");
      throw error;
    } finally {
      kernel.close();
    }
  });
}
