import { PrismaPg } from '@prisma/adapter-pg';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/prisma.ts'; // 'changetrail/context/prisma'
import type { ShopPrismaClient } from './prisma/client-type.ts'; // import { PrismaClient } from './generated/client.ts';

export async function addItem(url: string, PrismaClient: ShopPrismaClient): Promise<void> {
  const prisma = new PrismaClient({ adapter: attachActor(new PrismaPg({ connectionString: url })) });
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    prisma.item.create({ data: { name: 'apple' } }),
  );
  await prisma.$disconnect();
}
