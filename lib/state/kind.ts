/** What the engine asks of a kind of object. Each kind is one class in one file of kinds/; `kindOf` in objects.ts finds it. */
import type { Kernel } from "./kernel.ts";

/**
 * With which neighbours of the plan an object is made: alone, with settings of one namespace, which has to be entered for
 * them, or with requests to one namespace, which are sent at once.
 */
export type Batch = "alone" | "settings host" | "settings container" | "requests host" | "requests container";

/** One object of a plan, and what can be done with it. */
export abstract class Kind {
  /** What making the object means, as a phrase that follows "cannot". */
  abstract describe(): string;

  /**
   * The commands that do the same, as a person would type them: `ip`, `bridge`, `tc`, `nft`, `sysctl`.
   * @param netns the path of the container's namespace
   */
  abstract commands(netns: string): string[];

  /** For `explain`: what the object needs and attachments share, as far as it is missing; the commands for each such thing. */
  prerequisites(_kernel: Kernel): string[][] {
    return [];
  }

  /** For `explain`: whether it is an object that attachments share and that another one has made already. */
  isThere(_kernel: Kernel): boolean {
    return false;
  }

  batch(): Batch {
    return "alone";
  }

  /** Whether this call has seen already that the object is as it should be: then nothing is done for it. */
  isMade(_kernel: Kernel): boolean {
    return false;
  }

  /**
   * Makes the object exist; in a batch of requests, adds its request to those that are sent next.
   * @throws NetlinkError, CniError
   */
  abstract make(kernel: Kernel): void;

  /**
   * What is missing or different, in words; null if nothing is. Steps on the way, such as settings that other plugins may
   * change later, have nothing to compare.
   * @throws NetlinkError, CniError
   */
  difference(_kernel: Kernel): string | null {
    return null;
  }

  /** CHECK: puts back what is different, where nobody gains by waiting for another call. Returns whether all is back. */
  restore(_kernel: Kernel): boolean {
    return false;
  }

  /** Takes back what was made, after a failure. Shared objects stay: others may be using them by now. */
  undo(_kernel: Kernel): void {}

  /** Whether it is undone after a request without an answer, too: nothing else would find what that may have made. */
  undoneInDoubt(): boolean {
    return false;
  }
}
