create table users (id int primary key, email text not null unique, role text not null default 'user');
create table products (id int primary key, name text not null, price_cents int not null, stock int not null);
create table orders (id int primary key generated always as identity, user_id int not null references users, product_id int not null references products, quantity int not null);

insert into users values (1, 'alice@example.com', 'user'), (2, 'bob@example.com', 'support');
insert into products values (1, 'Lamp', 4900, 10), (2, 'Chair', 12900, 4);
