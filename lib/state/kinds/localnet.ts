/** Letting packets for 127.0.0.0/8 be routed out of a link: how the node's own 127.0.0.1 leads to a pod. */
import { CHECK_FAILED, CniError } from "../../errors.ts";
import { localnetSetting } from "../../filter/restore.ts";
import { ensureSysctl, readSysctl } from "../../host/sysctl.ts";
import type { Kernel } from "../kernel.ts";
import type { LocalnetObject } from "../objects.ts";

export function applyLocalnet(kernel: Kernel, object: LocalnetObject): void {
  const setting = localnetSetting(object.link);
  if (readSysctl(setting) !== "0") return;
  /* It stays when the last pod has gone, so the rule that keeps strangers out has to come back even then. */
  kernel.filter.keepLocalnet(object.link);
  ensureSysctl(setting, "1");
}

/** Reloads of sysctl.conf set it back, so it is set again at once. @throws CniError 101 if it was not as it should be */
export function checkLocalnet(kernel: Kernel, object: LocalnetObject): void {
  const setting = localnetSetting(object.link);
  if (readSysctl(setting) !== "0") return;
  applyLocalnet(kernel, object);
  throw new CniError(
    CHECK_FAILED,
    `${setting.join(".")} was 0, expected 1: ports on 127.0.0.1 did not answer`,
    "somebody set it back; it has been set again",
  );
}
