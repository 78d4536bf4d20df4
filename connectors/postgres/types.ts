// How a type's text becomes JSON. The forms are those of the record's definition (docs/reference/record.md).

/** The way a value's text is written. Literal numbers, because the decoder switches on them for each cell. */
export const FORM = {
  /** Digits that JSON takes as they are. */
  INTEGER: 0,
  /** As INTEGER, but NaN and ±Infinity become strings. */
  FLOAT: 1,
  BOOLEAN: 2,
  /** json: text as its writer wrote it; line feeds between its tokens become spaces. */
  JSON: 3,
  /** A string that never needs escaping: int8, numeric, uuid, date, … */
  PLAIN: 4,
  /** A string. */
  TEXT: 5,
  /** `2025-01-01 00:00:00` → `2025-01-01T00:00:00`. */
  TIMESTAMP: 6,
  /** As TIMESTAMP, with `+00` → `Z`. */
  TIMESTAMPTZ: 7,
  ARRAY: 8,
  /** jsonb: the server's own form, which has no line feeds: taken as it is. */
  JSONB: 9,
  /** "char": one byte of any value. */
  BYTE: 10,
} as const;

export type Form = (typeof FORM)[keyof typeof FORM];

export interface TypeForm {
  readonly form: Form;
  /** Of an array: how its elements are written. */
  readonly element?: TypeForm;
  /** Of an array: the byte between elements (`,`, for box `;`). */
  readonly delimiter?: number;
}

export const TEXT_FORM: TypeForm = { form: FORM.TEXT };

/** Built-in types by OID that are not plain text (src/include/catalog/pg_type.dat of the server). */
const BUILT_IN = new Map<number, Form>([
  [16, FORM.BOOLEAN],
  [18, FORM.BYTE], // "char"
  [20, FORM.PLAIN], // int8: a string, because a reader's numbers are doubles
  [21, FORM.INTEGER],
  [23, FORM.INTEGER],
  [26, FORM.INTEGER], // oid
  [114, FORM.JSON],
  [3802, FORM.JSONB],
  [700, FORM.FLOAT],
  [701, FORM.FLOAT],
  [1700, FORM.PLAIN], // numeric
  [2950, FORM.PLAIN], // uuid
  [1082, FORM.PLAIN], // date
  [1083, FORM.PLAIN], // time
  [1266, FORM.PLAIN], // timetz
  [1114, FORM.TIMESTAMP],
  [1184, FORM.TIMESTAMPTZ],
]);

/** A row of the server's pg_type, as `TYPES_SQL` reads it. */
export interface TypeRow {
  readonly oid: number;
  /** Base type of a domain, or 0. */
  readonly base: number;
  /** Element type of a true array type, or 0. */
  readonly element: number;
  readonly delimiter: string;
}

/** Reads the types with the given OIDs and all they are made of. `$1`: oid[]. */
export const TYPES_SQL = `
with recursive wanted(oid) as (
  select unnest($1::oid[])
  union
  select case when t.typbasetype <> 0 then t.typbasetype else t.typelem end
  from wanted w join pg_catalog.pg_type t on t.oid = w.oid
  where t.typbasetype <> 0 or t.typelem <> 0
)
select t.oid::int8::text as oid, t.typbasetype::int8::text as base,
       case when e.typarray = t.oid then t.typelem else 0::oid end::int8::text as element, coalesce(e.typdelim, ',') as delimiter
from wanted w
join pg_catalog.pg_type t on t.oid = w.oid
left join pg_catalog.pg_type e on e.oid = t.typelem and e.typarray = t.oid`;

/** The types of one database that have been looked up. Types are never redefined under the same OID. */
export class TypeCatalog {
  readonly #forms = new Map<number, TypeForm>();

  has(oid: number): boolean {
    return BUILT_IN.has(oid) || this.#forms.has(oid);
  }

  /** How values of the type are written; text when it is not known (its OID vanished with a DROP TYPE). */
  form(oid: number): TypeForm {
    const built = BUILT_IN.get(oid);
    if (built !== undefined) return { form: built };
    return this.#forms.get(oid) ?? TEXT_FORM;
  }

  add(rows: readonly TypeRow[]): void {
    const byOid = new Map(rows.map((row) => [row.oid, row]));
    const resolve = (oid: number, depth: number): TypeForm => {
      const row = byOid.get(oid);
      if (BUILT_IN.has(oid) || row === undefined || depth > 32) return this.form(oid);
      if (row.base !== 0) return resolve(row.base, depth + 1);
      if (row.element !== 0) {
        return { form: FORM.ARRAY, element: resolve(row.element, depth + 1), delimiter: row.delimiter.charCodeAt(0) };
      }
      return TEXT_FORM;
    };
    for (const row of rows) this.#forms.set(row.oid, resolve(row.oid, 0));
  }
}
