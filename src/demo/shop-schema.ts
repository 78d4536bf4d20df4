/** The demo's shop. `orders` and `customers` keep their old rows, `cart_items` shows what a default table says. */
export const SHOP_SCHEMA = `
create table customers (
  id int generated always as identity primary key,
  name text not null,
  email text not null unique,
  phone text,
  tier text not null default 'standard',
  created_at timestamptz not null default now()
);
create table products (sku text primary key, title text not null, price numeric(10,2) not null, stock int not null);
create table orders (
  id bigint generated always as identity primary key,
  customer_id int not null references customers,
  status text not null default 'placed',
  total numeric(10,2) not null,
  items jsonb not null,
  placed_at timestamptz not null default now()
);
create table cart_items (cart uuid, sku text references products, quantity int not null, primary key (cart, sku));
create table search_cache (term text, results jsonb);
alter table customers replica identity full;
alter table orders replica identity full;
insert into products values
  ('KETTLE-1', 'Kettle, 1.7 l', 39.90, 40), ('MUG-BLUE', 'Mug, blue', 9.50, 200), ('TEA-ASSAM', 'Assam tea, 250 g', 12.00, 85);
insert into customers (name, email, phone) values
  ('Zoë Martin', 'zoe@example.com', '+41 44 000 00 01'), ('Bo Li', 'bo@example.com', null), ('Amara Okafor', 'amara@example.com', '+234 1 000 0002');
`;
