/** bandwidth under faults, with limits both ways. */
import { BANDWIDTH } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(BANDWIDTH);
