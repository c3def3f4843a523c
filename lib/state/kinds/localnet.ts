/** Letting packets for 127.0.0.0/8 be routed out of a link: how the node's own 127.0.0.1 leads to a pod. */
import { localnetSetting } from "../../filter/restore.ts";
import { ensureSysctl, readSysctl } from "../../host/sysctl.ts";
import type { LocalnetObject } from "../objects.ts";

export function applyLocalnet(object: LocalnetObject): void {
  ensureSysctl(localnetSetting(object.link), "1");
}

/** What is different; null if nothing is. Reloads of sysctl.conf set it back, so it is set again at once. */
export function differenceInLocalnet(object: LocalnetObject): string | null {
  const setting = localnetSetting(object.link);
  const value = readSysctl(setting);
  if (value === null || value === "1") return null;
  ensureSysctl(setting, "1");
  return `${setting.join(".")} was ${value}, expected 1: ports on 127.0.0.1 did not answer. It was set again`;
}
