/**
 * What verify found. `tampered`: something contradicts the signed head, or itself. `missing`: a thing that would be needed to
 * tell is not there or not readable.
 */
export interface Finding {
  readonly level: 'tampered' | 'missing';
  /** Stable name of the kind of finding. */
  readonly what:
    | 'line_changed'
    | 'line_missing'
    | 'index_wrong'
    | 'segment_damaged'
    | 'segment_missing'
    | 'bundle_damaged'
    | 'tile_damaged'
    | 'tile_missing'
    | 'tile_unreadable'
    | 'root_differs'
    | 'checkpoint_damaged'
    | 'checkpoint_missing'
    | 'signature_invalid'
    | 'key_unknown'
    | 'head_ahead'
    | 'head_differs'
    | 'head_damaged'
    | 'order_broken'
    | 'retention_unexplained'
    | 'record_damaged'
    | 'unsigned_tail'
    | 'unreadable';
  readonly message: string;
  readonly index?: number;
  readonly segment?: string;
}

/** Findings beyond this are counted only. */
const KEPT_FINDINGS = 1_000;

/** A bounded list of findings. */
export class Findings {
  readonly list: Finding[] = [];
  tampered = 0;
  missing = 0;

  add(finding: Finding): void {
    this[finding.level]++;
    if (this.list.length < KEPT_FINDINGS) this.list.push(finding);
  }

  say(level: Finding['level'], what: Finding['what'], message: string, index?: number): void {
    this.add({ level, what, message, ...(index === undefined ? {} : { index }) });
  }

  addAll({ list, tampered, missing }: Pick<Findings, 'list' | 'tampered' | 'missing'>): void {
    this.tampered += tampered;
    this.missing += missing;
    this.list.push(...list.slice(0, KEPT_FINDINGS - this.list.length));
  }
}
