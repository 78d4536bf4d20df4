/** The part of the client that `prisma generate` makes of schema.prisma which the example uses; it is not checked in. */
interface ItemModel {
  create(args: { data: { name: string; n?: number } }): Promise<{ name: string; n: number }>;
  update(args: { where: { name: string }; data: { n: number } }): Promise<{ name: string; n: number }>;
  count(): Promise<number>;
}

export interface ShopPrisma {
  readonly item: ItemModel;
  $transaction<T>(fn: (tx: ShopPrisma) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}

export type ShopPrismaClient = new (options: {
  adapter: object;
  transactionOptions?: { maxWait?: number; timeout?: number };
}) => ShopPrisma;
